"""Keras to TFLite, TFLite to MNN. Converters report success and write wrong files, so nothing here
trusts what they say: tensor names and order are set and read back, files are looked for, and the
stages let a file count only after its scores were compared."""
