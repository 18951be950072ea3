# What is kept, and for how long.

resource "aws_s3_bucket_lifecycle_configuration" "data" {
  bucket     = aws_s3_bucket.data.id
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    id     = "uploads-that-never-ended"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  # A run renews its lock again and again, so old versions add up.
  rule {
    id     = "removed-and-replaced"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = var.keep_removed_days
    }
    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "results-that-nobody-reads"
    status = "Enabled"
    filter {
      prefix = "runs/"
    }
    transition {
      days          = 30
      storage_class = "INTELLIGENT_TIERING"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket     = aws_s3_bucket.logs.id
  depends_on = [aws_s3_bucket_versioning.this]

  rule {
    id     = "old-logs"
    status = "Enabled"
    filter {}
    expiration {
      days = var.keep_logs_days
    }
    noncurrent_version_expiration {
      noncurrent_days = 1
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}
