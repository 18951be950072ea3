variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "account_id" {
  description = "Account of the environment."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of Kubernetes; one in standard support."
  type        = string
  default     = "1.35"
}

variable "subnet_ids" {
  description = "Private subnets in at least two zones."
  type        = list(string)
}

variable "api_cidrs" {
  description = "Networks outside that may reach the control plane; none by default."
  type        = list(string)
  default     = []

  validation {
    condition = alltrue([
      for cidr in var.api_cidrs : can(cidrhost(cidr, 0)) && try(tonumber(split("/", cidr)[1]) >= 16, false)
    ])
    error_message = "Name your own networks, each a /16 or smaller. The whole internet has no business here."
  }
}

variable "admin_role_arns" {
  description = "IAM roles that administer the cluster."
  type        = list(string)

  validation {
    condition     = length(var.admin_role_arns) > 0
    error_message = "Name at least one role, or nobody can log in to the cluster."
  }
}

variable "addon_versions" {
  description = "Versions of add-ons by name; without one EKS takes its default for the version of Kubernetes."
  type        = map(string)
  default     = {}
}

variable "key_arn" {
  description = "Key that encrypts secrets and logs."
  type        = string
}
