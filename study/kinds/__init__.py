"""Kinds: what a stage of each kind does with music.

    separation      a separator, from remixed songs
    classification  a bare backend on the target task
    finetuning      U-Net, adapters and backend together on the target task
    held_out_test   test scores of a network that one of the two kinds above trained without the test split
    probe           a linear model on a separator's features

Raise a kind's version whenever its results change; the tests pin the losses of a small run of each beside it.
"""
