variable "bucket" {
  description = "Name of the bucket of runs and models, unique in all of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,48}[a-z0-9]$", var.bucket))
    error_message = "Give 3 to 50 lower-case letters, digits and hyphens: the bucket of logs adds 12 to it."
  }
}

variable "account_id" {
  description = "Account of the environment."
  type        = string
}

variable "key_arn" {
  description = "Key that encrypts runs and models."
  type        = string
}

variable "keep_removed_days" {
  description = "Days for which removed and replaced objects can be brought back."
  type        = number
  default     = 14
}

variable "keep_logs_days" {
  description = "Days for which access logs are kept."
  type        = number
  default     = 90
}
