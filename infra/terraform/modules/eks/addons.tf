# What every cluster needs to have nodes at all. Network, proxy and pod identity come before the nodes;
# names are resolved by pods, so CoreDNS is ready once the first node is.

locals {
  before_nodes = ["eks-pod-identity-agent", "kube-proxy"]
}

resource "aws_eks_addon" "before_nodes" {
  for_each = toset(local.before_nodes)

  cluster_name  = aws_eks_cluster.this.name
  addon_name    = each.key
  addon_version = lookup(var.addon_versions, each.key, null)
}

# NetworkPolicy objects have an effect only with the network policy agent of this add-on.
resource "aws_eks_addon" "network" {
  cluster_name         = aws_eks_cluster.this.name
  addon_name           = "vpc-cni"
  addon_version        = lookup(var.addon_versions, "vpc-cni", null)
  configuration_values = jsonencode({ enableNetworkPolicy = "true" })

  pod_identity_association {
    service_account = "aws-node"
    role_arn        = aws_iam_role.network.arn
  }

  depends_on = [aws_eks_addon.before_nodes, aws_iam_role_policy_attachment.network]
}

resource "aws_eks_addon" "names" {
  cluster_name  = aws_eks_cluster.this.name
  addon_name    = "coredns"
  addon_version = lookup(var.addon_versions, "coredns", null)
}
