# Two buckets: one for runs and models, one for the record of who asked for what.
# Nothing that a pod may do destroys data: a removal leaves a version behind for `keep_removed_days`.

locals {
  buckets = {
    data = aws_s3_bucket.data
    logs = aws_s3_bucket.logs
  }
}

resource "aws_s3_bucket" "data" {
  #checkov:skip=CKV_AWS_144:results can be computed again from open imagery, a copy in another region is not worth its price
  #checkov:skip=CKV2_AWS_62:the run tells its scheduler what was written, nobody listens to the bucket
  bucket        = var.bucket
  force_destroy = false

  # A bucket that holds anything is not destroyed. The condition also ties it to its key, which therefore
  # stays as long as there is something to decrypt.
  lifecycle {
    precondition {
      condition     = startswith(var.key_arn, "arn:")
      error_message = "Runs and models are encrypted with a key of your own: give its ARN."
    }
  }
}

resource "aws_s3_bucket" "logs" {
  #checkov:skip=CKV_AWS_18:a bucket that logged its own logs would never come to an end
  #checkov:skip=CKV_AWS_144:access logs stay where they are used
  #checkov:skip=CKV_AWS_145:S3 delivers access logs only to buckets with its own keys (SSE-S3)
  #checkov:skip=CKV2_AWS_62:nobody listens to the bucket
  bucket        = "${var.bucket}-access-logs"
  force_destroy = true # the record of an environment ends with it
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = local.buckets

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets

  bucket = each.value.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets

  bucket = each.value.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "data" {
  bucket = aws_s3_bucket.data.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.key_arn
    }
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_logging" "data" {
  bucket        = aws_s3_bucket.data.id
  target_bucket = aws_s3_bucket.logs.id
  target_prefix = "${var.bucket}/"
  depends_on    = [aws_s3_bucket_policy.logs]
}
