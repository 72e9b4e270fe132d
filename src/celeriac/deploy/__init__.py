"""Where an application runs: its Kubernetes manifests.

May import: core and libraries (PyYAML, behind one door). What the application is, it is told.
Read first: manifests/pools.py, then manifests/render.py.
"""
