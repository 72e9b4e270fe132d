"""The command ``celeriac k8s``: manifests for an app, and the end of a pod.

May import: core, bridge and deploy; click. What a manifest says is the business of deploy.
Read first: command.py, then application.py.
"""
