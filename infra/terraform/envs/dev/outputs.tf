output "cluster_name" {
  description = "For aws eks update-kubeconfig --name."
  value       = module.eks.name
}

output "bucket" {
  description = "Bucket of runs and models."
  value       = module.storage.bucket
}

output "runs" {
  description = "What --out of a job begins with, TERRAQUERY_RUNS of the pods."
  value       = "s3://${module.storage.bucket}/runs"
}

output "models" {
  description = "Where weights are uploaded to, TERRAQUERY_MODELS of the pods."
  value       = "s3://${module.storage.bucket}/models"
}

output "repository_urls" {
  description = "Where images are pushed to, by repository."
  value       = module.registry.repository_urls
}

output "role_arns" {
  description = "Roles, by service account."
  value       = module.identity.role_arns
}

output "requester_pays_buckets" {
  description = "Buckets for which a job sets AWS_REQUEST_PAYER=requester."
  value       = module.identity.requester_pays_buckets
}

output "alarm_topic_arn" {
  description = "Topic of all alarms."
  value       = module.observability.topic_arn
}
