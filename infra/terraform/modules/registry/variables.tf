variable "name" {
  description = "Name of the environment; repositories lie below it."
  type        = string
}

variable "images" {
  description = "Names of the images."
  type        = list(string)
  default     = ["cpu", "gpu"]
}

variable "keep_images" {
  description = "Newest images that are kept, of each repository."
  type        = number
  default     = 10
}

variable "key_arn" {
  description = "Key that encrypts the images."
  type        = string
}
