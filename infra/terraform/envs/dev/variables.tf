variable "name" {
  description = "Name of the environment and of its cluster."
  type        = string
  default     = "terraquery-dev"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,18}[a-z0-9]$", var.name))
    error_message = "Give 4 to 20 lower-case letters, digits and hyphens, a letter first: names of buckets are made of it."
  }
}

variable "account_id" {
  description = "Account that the environment is made in. Terraform refuses to work in another."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An account has twelve digits: aws sts get-caller-identity."
  }
}

variable "region" {
  description = "Region of the imagery; us-west-2 has Sentinel-2 COGs, Landsat and NAIP."
  type        = string
  default     = "us-west-2"

  validation {
    condition     = can(regex("^[a-z]{2}-[a-z]+-[0-9]$", var.region)) && !startswith(var.region, "cn-")
    error_message = "Give a region of the standard partition, for example us-west-2."
  }
}

variable "zone_letters" {
  description = "Letters of the availability zones. More of them find more spot capacity."
  type        = list(string)
  default     = ["a", "b", "c"]
}

variable "nat_per_zone" {
  description = "A NAT gateway in each zone."
  type        = bool
  default     = false
}

variable "kubernetes_version" {
  description = "Version of Kubernetes."
  type        = string
  default     = "1.35"
}

variable "api_cidrs" {
  description = "Networks outside that may reach the control plane. Without any, use a VPN into the network."
  type        = list(string)
  default     = []
}

variable "admin_role_arns" {
  description = "IAM roles that administer the cluster."
  type        = list(string)
}

variable "scheduler_principal_arns" {
  description = "Roles outside the cluster that may become the scheduler."
  type        = list(string)
  default     = []
}

variable "inputs" {
  description = "Imagery that runs may read: buckets, folders in them, and whether the reader pays."
  type = list(object({
    bucket         = string
    prefixes       = list(string)
    requester_pays = optional(bool, false)
  }))
  default = [
    { bucket = "sentinel-cogs", prefixes = ["sentinel-s2-l2a-cogs/"] },
    { bucket = "usgs-landsat", prefixes = ["collection02/level-2/"], requester_pays = true },
    { bucket = "naip-analytic", prefixes = ["ca/", "nv/"], requester_pays = true },
  ]
}

variable "head_instance_types" {
  description = "Instance types for controllers and the head: 16 GiB, of which a head takes 8."
  type        = list(string)
  default     = ["m6a.xlarge"]
}

variable "cpu_instance_types" {
  description = "Instance types of readers and the merge, alike in cores and memory."
  type        = list(string)
  default     = ["m6a.4xlarge", "m6i.4xlarge", "m5.4xlarge"]
}

variable "max_cpu_nodes" {
  description = "CPU nodes that there are at most."
  type        = number
  default     = 4
}

variable "gpu_instance_types" {
  description = "Instance types with one GPU, alike in cores and memory."
  type        = list(string)
  default     = ["g6.2xlarge", "g5.2xlarge"]
}

variable "max_gpu_spot_nodes" {
  description = "Spot GPU nodes that there are at most."
  type        = number
  default     = 8
}

variable "max_gpu_on_demand_nodes" {
  description = "On-demand GPU nodes that there are at most."
  type        = number
  default     = 2
}

variable "gpu_hours" {
  description = "Hours after which GPU nodes that still run are reported."
  type        = number
  default     = 12
}

variable "alarm_emails" {
  description = "Who is told of alarms."
  type        = list(string)
}

variable "monthly_budget_usd" {
  description = "What the account may cost in a month, in US dollars."
  type        = number
  default     = 1000
}
