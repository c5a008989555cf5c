"""What keeps requests alive when workers are not: breakers, budget, journal, retries, watch.

Every rule here is a state machine over an injected clock and random source.
"""
