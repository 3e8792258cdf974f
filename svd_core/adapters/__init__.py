"""LoRA files of any naming -> the U-Net's own names, checked, measured and ready for the host.

Read `names` for what files call the layers, `lora` for reading one, `check` for what is refused,
`change` for what an adapter adds to a weight. `python -m svd_core.adapters FILE OUT` rewrites a file so that
any loader takes all of it.
"""
