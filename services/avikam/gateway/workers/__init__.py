"""The pool of workers: who is there, how they are, and one attempt on one of them."""
