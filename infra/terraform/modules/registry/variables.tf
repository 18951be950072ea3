variable "repositories" {
  description = "Names of repositories. One holds both images, with tags like 0.1.0-cpu and 0.1.0-gpu."
  type        = list(string)
  default     = ["terraquery"]
}

variable "keep_images" {
  description = "Newest images that are kept in each repository."
  type        = number
  default     = 20
}

variable "key_arn" {
  description = "Key that encrypts the images."
  type        = string
}
