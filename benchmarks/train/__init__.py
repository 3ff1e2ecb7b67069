"""The engine beside TRL at its best: speed and memory of training and sampling. `make bench-train`.

    cells     what is measured: tasks, shapes of data, models, how many steps; the quick and the full list
    data      the examples, rendered once by the base's own template: the same text and ids for both sides
    start     weights, adapter and score head that both sides load
    ours      our side: the parts that the recipes are made of, with metrics and data path as in production
    peer      TRL's side: its trainers as they come, with the settings of `peer.json`
    one       one side of one cell, in a process of its own
    meter     clocks, peak memory, what was read
    parity    no ratio without it
    machine   what the machine can do, how busy it is
    report    ratios, the table, the last line

The protocol. Both sides load the same weights and adapter (LoRA, rank 16, B not zero), in float32, without dropout;
AdamW with the same betas, constant learning rate, clipping at 1; the same examples in the same order, the same number
in every optimiser step. What each side really read (ids, what is trained) is hashed and compared, then the losses and
gradient norms of its steps: within 1e-4 and 1e-3, relatively, or there is no ratio. The first step warms up and is not
counted. A useful token is one of the prompt or the completion of an original row: a prompt counts once for every row
that has it, on both sides, though ours computes it once; padding counts nowhere. Memory is the peak above the loaded
model.
"""
