"""Tensor parallelism (Megatron-LM, Shoeybi et al. 2019, arXiv 1909.08053).

            rank 0                     rank 1
    x ----> QKV groups 0, 1            QKV groups 2, 3       every rank sees all of x
            attention, own heads       attention, own heads
            o_proj, own columns  --+-- o_proj, own columns   summed over the ranks
    x ----> FFN, own columns     --+-- FFN, own columns      summed over the ranks

A rank runs the same :class:`avikam.model.transformer.Avikam1` as everybody, of a narrower shape;
embeddings, norms and routers are whole everywhere, the head is rank 0's.
"""
