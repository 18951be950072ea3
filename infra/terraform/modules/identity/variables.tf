variable "cluster_name" {
  description = "Cluster whose pods get the roles."
  type        = string
}

variable "cluster_arn" {
  description = "ARN of the cluster."
  type        = string
}

variable "account_id" {
  description = "Account of the environment."
  type        = string
}

variable "region" {
  description = "Region of the environment."
  type        = string
}

variable "bucket" {
  description = "Bucket of runs and models."
  type        = string
}

variable "key_arn" {
  description = "Key of that bucket."
  type        = string
}

variable "inputs" {
  description = "Buckets and prefixes of the imagery that may be read, and whether the reader pays."
  type = list(object({
    bucket         = string
    prefixes       = list(string)
    requester_pays = optional(bool, false)
  }))

  validation {
    condition = alltrue(flatten([
      for input in var.inputs : concat(
        [length(input.prefixes) > 0, can(regex("^[a-z0-9.-]+$", input.bucket))],
        [for prefix in input.prefixes : can(regex("^[^/*?$][^*?$]*/$", prefix))],
      )
    ]))
    error_message = "Name prefixes as folders, for example \"sentinel-s2-l2a-cogs/\": no wildcard, no / in front, one at the end."
  }

  validation {
    condition     = length(distinct(var.inputs[*].bucket)) == length(var.inputs)
    error_message = "Name each bucket once, with all its prefixes."
  }
}

variable "namespace" {
  description = "Namespace of Ray and its scheduler."
  type        = string
  default     = "terraquery"
}

variable "scheduler_principal_arns" {
  description = "Roles outside the cluster that may become the scheduler, for example that of an Airflow elsewhere."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.scheduler_principal_arns : can(regex("^arn:aws:iam::[0-9]{12}:role/", arn))])
    error_message = "Name roles by their ARN, never a whole account."
  }
}

variable "scheduler_group" {
  description = "Group of the scheduler in Kubernetes."
  type        = string
  default     = "terraquery:schedulers"
}
