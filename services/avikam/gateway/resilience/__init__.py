"""What keeps requests alive when workers are not: breakers, a budget of retries, quarantine, watch.

Every rule here is a state machine over an injected clock and random source.
"""
