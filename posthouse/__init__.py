"""The thin top: the command line (`cli`), and what puts `relay` and `enroll` together (`wiring`, `serve`).

Also here: `check_config` and `doctor` (is this machine fit?), `backup`, and the demo.
"""
