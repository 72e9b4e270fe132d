"""Kubernetes manifests of one application: pure, from values to plain objects and from these to text.

May import: core; PyYAML only in yaml_text.py. Nothing here reads an app, a cluster or a clock.
Read first: pools.py (what is declared), ending.py (how a pod ends), render.py (what comes out).
"""
