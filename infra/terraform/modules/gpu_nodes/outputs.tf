output "autoscaling_groups" {
  description = "Auto Scaling groups of the pools, by name of the pool."
  value       = { for name, pool in module.pool : name => pool.autoscaling_group }
}

output "pools" {
  description = "What the pools are, by name of the pool."
  value = {
    for name, pool in module.pool : name => {
      capacity_type = pool.capacity_type
      min_nodes     = pool.min_nodes
      max_nodes     = pool.max_nodes
      taint         = one(pool.taints)
    }
  }
}
