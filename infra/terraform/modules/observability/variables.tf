variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "account_id" {
  description = "Account of the environment."
  type        = string
}

variable "key_arn" {
  description = "Key of the topic."
  type        = string
}

variable "emails" {
  description = "Who is told. Each address confirms by the first message."
  type        = list(string)

  validation {
    condition     = length(var.emails) > 0
    error_message = "Name at least one address, or the alarms ring in an empty room."
  }
}

variable "monthly_budget_usd" {
  description = "What the account may cost in a month, in US dollars."
  type        = number

  validation {
    condition     = var.monthly_budget_usd > 0
    error_message = "Give what a month may cost, in US dollars."
  }
}

variable "gpu_groups" {
  description = "Auto Scaling groups of GPU nodes, by name of the pool."
  type        = map(string)
}

variable "gpu_hours" {
  description = "Hours without a break after which running GPU nodes are reported: more than the longest night."
  type        = number
  default     = 12

  validation {
    condition     = var.gpu_hours >= 1 && var.gpu_hours <= 168
    error_message = "CloudWatch looks back over 1 to 168 hours."
  }
}

variable "nat_gateway_ids" {
  description = "NAT gateways, by zone."
  type        = map(string)
}

variable "nat_gb_per_hour" {
  description = "Gigabytes per hour through one NAT gateway that are reported."
  type        = number
  default     = 50
}
