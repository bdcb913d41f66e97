"""What the core's tests share. `fake_processor` is imported by its name, so its folder is put on the path."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))

import logging

import structlog

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
