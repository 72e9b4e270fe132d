"""The policies that ours is measured against, each re-stated from its own documentation or source.

May import: scaling's view, load and staffing; numpy.
Read first: hpa.py, which KEDA, Crane and the predictive HPA stand on.
"""
