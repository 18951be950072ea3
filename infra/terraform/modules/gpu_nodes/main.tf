# GPU nodes: spot ones, and on-demand ones for nights without spot. Both pools are empty between runs.
# Their taint keeps everything else away, so the autoscaler can remove a node once its Ray pod is gone.

locals {
  kinds = {
    gpu-spot      = { capacity_type = "SPOT", max_nodes = var.max_spot_nodes }
    gpu-on-demand = { capacity_type = "ON_DEMAND", max_nodes = var.max_on_demand_nodes }
  }
}

module "pool" {
  for_each = { for name, kind in local.kinds : name => kind if kind.max_nodes > 0 }
  source   = "../node_pool"

  cluster_name   = var.cluster_name
  name           = each.key
  pool           = "gpu"
  node_role_arn  = var.node_role_arn
  subnet_ids     = var.subnet_ids
  instance_types = var.instance_types
  capacity_type  = each.value.capacity_type
  ami_type       = "AL2023_x86_64_NVIDIA"
  min_nodes      = 0
  max_nodes      = each.value.max_nodes
  disk_gib       = var.disk_gib
  local_disks    = true
  taints         = [{ key = "nvidia.com/gpu", value = "present", effect = "NO_SCHEDULE" }]
  tags           = var.tags
}
