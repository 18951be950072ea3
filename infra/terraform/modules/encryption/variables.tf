variable "name" {
  description = "Name of the environment, also of its cluster."
  type        = string
}

variable "account_id" {
  description = "Account that owns the key."
  type        = string
}

variable "region" {
  description = "Region of the log groups."
  type        = string
}
