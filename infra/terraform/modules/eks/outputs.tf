output "name" {
  description = "Name of the cluster, known when it is ready for nodes."
  value       = aws_eks_cluster.this.name
  depends_on  = [aws_eks_addon.before_nodes, aws_eks_addon.network]
}

output "arn" {
  description = "ARN of the cluster."
  value       = aws_eks_cluster.this.arn
}

output "endpoint" {
  description = "Address of the control plane."
  value       = aws_eks_cluster.this.endpoint
}

output "node_role_arn" {
  description = "Role of the nodes, known when it may do its work."
  value       = aws_iam_role.node.arn
  depends_on  = [aws_iam_role_policy_attachment.node]
}
