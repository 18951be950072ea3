variable "cluster_name" {
  description = "Cluster that the nodes join."
  type        = string
}

variable "node_role_arn" {
  description = "Role of the nodes."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets. The more zones, the more often there is spot capacity."
  type        = list(string)
}

variable "instance_types" {
  description = "Instance types with one GPU of 24 GB and local disks, alike in cores and memory."
  type        = list(string)
  default     = ["g6.2xlarge", "g5.2xlarge"]
}

variable "max_spot_nodes" {
  description = "Spot nodes that there are at most; 0 for none."
  type        = number
  default     = 8
}

variable "max_on_demand_nodes" {
  description = "On-demand nodes that there are at most; 0 for none."
  type        = number
  default     = 2
}

variable "disk_gib" {
  description = "Size of the root volume."
  type        = number
  default     = 100
}

variable "tags" {
  description = "Tags of instances and volumes."
  type        = map(string)
  default     = {}
}
