"""The claims of the papers that onnxbf began with, each reproduced by one command with a verdict.

A study trains what it needs cell by cell, gathers rows of numbers, and judges its claims on them.
"""
