"""Kinds: what a stage of each kind does with music.

    separation      a separator, from remixed songs
    classification  a bare backend on the target task
    finetuning      U-Net, adapters and backend together on the target task
    held_out_test   scores on the test split of what one of the two before has trained without looking at it
    probe           a linear model on what a separator hears

Raise a kind's version whenever its results change; the tests pin the losses of a small run of each beside it.
"""
