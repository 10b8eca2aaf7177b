"""The demonstration: the documented rollout of the specification, on real Envoys, under load, judged by counting.

    script    what is done, in which order, and what must then hold: data
    load      what the client wrote down, and sums of it
    judge     did a step hold? counting and the binomial distribution; pure
    awaited   what the mesh must say before a step is measured; pure
    screen    what is shown: a picture of a `Model`, and plain lines; pure
    run       the loop that edits manifests, waits and measures

It only does what a user can do: it starts `smeagol up` on a folder, writes, edits and deletes manifests there, reads
the mesh's status and the client's log, and runs a command in a Pod with `smeagol exec`.
"""
