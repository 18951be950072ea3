variable "cluster_name" {
  description = "Cluster that the nodes join."
  type        = string
}

variable "name" {
  description = "Name of the node group."
  type        = string
}

variable "pool" {
  description = "Value of the label terraquery.dev/pool, by which pods choose their nodes."
  type        = string

  validation {
    condition     = contains(["head", "cpu", "gpu"], var.pool)
    error_message = "Pods ask for the pools head, cpu and gpu."
  }
}

variable "node_role_arn" {
  description = "Role of the nodes."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "instance_types" {
  description = "Instance types with the same number of cores and the same memory: the autoscaler plans with one."
  type        = list(string)

  validation {
    condition     = length(var.instance_types) > 0
    error_message = "Name at least one instance type."
  }
}

variable "capacity_type" {
  description = "ON_DEMAND or SPOT."
  type        = string

  validation {
    condition     = contains(["ON_DEMAND", "SPOT"], var.capacity_type)
    error_message = "Capacity is ON_DEMAND or SPOT."
  }
}

variable "ami_type" {
  description = "Image of the nodes, in the words of EKS."
  type        = string
  default     = "AL2023_x86_64_STANDARD"
}

variable "min_nodes" {
  description = "Nodes that are always there."
  type        = number
  default     = 0
}

variable "max_nodes" {
  description = "Nodes that there are at most."
  type        = number

  validation {
    condition     = var.max_nodes >= 1
    error_message = "There is room for one node at least."
  }
}

variable "disk_gib" {
  description = "Size of the root volume."
  type        = number
}

variable "local_disks" {
  description = "Use the local disks of the instance type for containers and what Ray spills."
  type        = bool
  default     = false
}

variable "taints" {
  description = "Taints of the nodes, in the words of EKS."
  type        = list(object({ key = string, value = string, effect = string }))
  default     = []
}

variable "tags" {
  description = "Tags of instances and volumes, which the default tags of the provider do not reach."
  type        = map(string)
  default     = {}
}
