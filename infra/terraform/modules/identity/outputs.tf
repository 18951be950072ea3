output "role_arns" {
  description = "Roles, by service account."
  value       = { for account, role in aws_iam_role.this : account => role.arn }
}

output "requester_pays_buckets" {
  description = "Buckets whose readers pay. A job that reads them sets AWS_REQUEST_PAYER=requester."
  value       = [for input in var.inputs : input.bucket if input.requester_pays]
}
