# Who may do what. Each service account has one role, and each role trusts one service account of one
# cluster. What a role may do is in policies.tf; nobody has access keys.

locals {
  accounts = {
    ray-worker = { namespace = var.namespace, policies = ["read-inputs", "write-runs"] }
    ray-head   = { namespace = var.namespace, policies = ["read-inputs", "write-runs", "tidy-runs"] }
    scheduler  = { namespace = var.namespace, policies = ["find-cluster"] }
    # A third-party controller, in the namespace of its own choice.
    cluster-autoscaler = { namespace = "kube-system", policies = ["scale-nodes"] }
  }
  grants = merge([
    for account, rights in local.accounts : {
      for policy in rights.policies : "${account}/${policy}" => { account = account, policy = policy }
    }
  ]...)
}

resource "aws_iam_role" "this" {
  for_each = local.accounts

  name                 = "${var.cluster_name}-${each.key}"
  max_session_duration = 43200
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "OneServiceAccount"
        Effect    = "Allow"
        Principal = { Service = "pods.eks.amazonaws.com" }
        Action    = ["sts:AssumeRole", "sts:TagSession"]
        Condition = {
          StringEquals = {
            "aws:RequestTag/eks-cluster-arn"            = var.cluster_arn
            "aws:RequestTag/kubernetes-namespace"       = each.value.namespace
            "aws:RequestTag/kubernetes-service-account" = each.key
          }
        }
      }],
      # An Airflow outside the cluster becomes the scheduler from a role of its own.
      each.key == "scheduler" && length(var.scheduler_principal_arns) > 0 ? [{
        Sid       = "SchedulersOutside"
        Effect    = "Allow"
        Principal = { AWS = var.scheduler_principal_arns }
        Action    = ["sts:AssumeRole"]
      }] : [],
    )
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = local.grants

  name   = each.value.policy
  role   = aws_iam_role.this[each.value.account].name
  policy = jsonencode({ Version = "2012-10-17", Statement = local.policies[each.value.policy] })
}

resource "aws_eks_pod_identity_association" "this" {
  for_each = local.accounts

  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.key
  role_arn        = aws_iam_role.this[each.key].arn
}

# In the cluster the scheduler is a member of one group and has no access policy of EKS. What the group may
# do (create and read RayJobs in one namespace) is a Role of Kubernetes.
resource "aws_eks_access_entry" "scheduler" {
  cluster_name      = var.cluster_name
  principal_arn     = aws_iam_role.this["scheduler"].arn
  kubernetes_groups = [var.scheduler_group]
}
