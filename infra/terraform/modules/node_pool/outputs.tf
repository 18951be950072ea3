output "autoscaling_group" {
  description = "Auto Scaling group of the nodes."
  value       = aws_eks_node_group.this.resources[0].autoscaling_groups[0].name
}

output "capacity_type" {
  description = "ON_DEMAND or SPOT."
  value       = aws_eks_node_group.this.capacity_type
}

output "min_nodes" {
  description = "Nodes that are always there."
  value       = aws_eks_node_group.this.scaling_config[0].min_size
}

output "max_nodes" {
  description = "Nodes that there are at most."
  value       = aws_eks_node_group.this.scaling_config[0].max_size
}

output "taints" {
  description = "Taints of the nodes, as key=value:effect."
  value       = [for taint in aws_eks_node_group.this.taint : "${taint.key}=${taint.value}:${taint.effect}"]
}
