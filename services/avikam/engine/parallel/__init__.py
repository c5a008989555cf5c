"""One engine, several ranks: rank 0 leads and samples, the others follow its orders.

    engine thread (rank 0)               rank 1, 2, 3: processes of their own
    ----------------------               ------------------------------------
    schedule
    order: step (plan, tokens)   ----->  receive
    model(...)      <--- sums of every layer --->   model(...)
    head, sample, deltas

Everything a follower must know comes as an order over one channel, in one order: steps, adapters,
cleared slots, snapshots. A follower that ends, ends the worker; a worker that ends, ends its
followers.
"""
