"""From raw sentences to rows of tokens: cleaning, filtering, splitting."""
