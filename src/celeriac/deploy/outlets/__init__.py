"""How autoscalers are told how many pods a pool needs: KEDA by gRPC, anybody by numbers and JSON.

May import: core and deploy.scaling; grpc and protobuf (the extra ``kubernetes``) behind one helper.
Read first: answers.py (what is told), then keda.py. Who works out the answers is the room ``scaler``.
"""
