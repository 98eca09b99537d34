"""The thin top: the command line (`cli`), and the one place that puts `relay` and `enroll` together (`rooms`, `serve`).

Also here: `check_config` and `doctor` (is this machine fit?), `backup`, and the demo.
"""
