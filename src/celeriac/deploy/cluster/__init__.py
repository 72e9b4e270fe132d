"""The pods of a cluster: who is there, and who is to go first.

May import: core and deploy.manifests; the standard library. Needs no Kubernetes client.
Read first: pods.py, then deletion_cost.py.
"""
