"""What the pods of a Ray cluster do beside the work, so that nothing is lost when they go.

keep_logs       copies a pod's Ray logs into the bucket: while it runs, and once more before it goes
cluster_events  what Kubernetes says of a cluster: why a pod waits, was evicted, or was killed
fetch_models    weights from a bucket, before anything loads them
stop_jobs       stops the jobs of a head, and waits for them

`infra/kubernetes` calls them by name. None of them imports ray or a model.
"""
