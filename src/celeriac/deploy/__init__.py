"""Where an application runs, and on how many pods: Kubernetes manifests and scaling.

May import: core; each package inside names the libraries it needs. What the application is, it is told.
Read first: manifests/pools.py and manifests/render.py, then the doors of scaling, outlets and cluster.
"""
