variable "name" {
  description = "Name of the environment."
  type        = string
}

variable "account_id" {
  description = "Account of the environment."
  type        = string
}

variable "region" {
  description = "Region of the network: that of the imagery, or its bytes cost money on their way."
  type        = string
}

variable "zones" {
  description = "Availability zones, two to six."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 6
    error_message = "EKS wants subnets in at least two zones, and the network has room for six."
  }
}

variable "cidr" {
  description = "Addresses of the network, a /16."
  type        = string
  default     = "10.0.0.0/16"

  validation {
    condition     = endswith(var.cidr, "/16") && can(cidrsubnet(var.cidr, 8, 255))
    error_message = "Give a /16, for example 10.0.0.0/16: subnets are cut from it."
  }
}

variable "nat_per_zone" {
  description = "A NAT gateway in each zone. One costs a third of three, but a zone that fails takes all with it."
  type        = bool
  default     = false
}

variable "bucket" {
  description = "Name of the environment's bucket."
  type        = string
}

variable "inputs" {
  description = "Buckets and prefixes of the imagery that may be read."
  type = list(object({
    bucket         = string
    prefixes       = list(string)
    requester_pays = optional(bool, false)
  }))
}

variable "key_arn" {
  description = "Key that encrypts the flow logs."
  type        = string
}
