output "bucket" {
  description = "Name of the bucket, known when it is ready for writers."
  value       = aws_s3_bucket.data.id
  depends_on = [
    aws_s3_bucket_ownership_controls.this,
    aws_s3_bucket_policy.data,
    aws_s3_bucket_server_side_encryption_configuration.data,
    aws_s3_bucket_versioning.this,
  ]
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.data.arn
}

output "logs_bucket" {
  description = "Name of the bucket of access logs."
  value       = aws_s3_bucket.logs.id
}
