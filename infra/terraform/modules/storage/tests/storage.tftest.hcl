mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::tests-bucket" }
  }
}

variables {
  bucket     = "tests-bucket"
  account_id = "123456789012"
  key_arn    = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "both_buckets_are_closed_and_keep_versions" {
  command = apply

  assert {
    condition = length(aws_s3_bucket_public_access_block.this) == 2 && alltrue([
      for block in aws_s3_bucket_public_access_block.this :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ])
    error_message = "public access is blocked in all four ways"
  }

  assert {
    condition = length(aws_s3_bucket_versioning.this) == 2 && alltrue([
      for versioning in aws_s3_bucket_versioning.this : versioning.versioning_configuration[0].status == "Enabled"
    ])
    error_message = "what is removed can be brought back"
  }

  assert {
    condition = alltrue([
      for policy in [aws_s3_bucket_policy.data.policy, aws_s3_bucket_policy.logs.policy] : anytrue([
        for statement in jsondecode(policy).Statement :
        statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"] == "false", false)
      ])
    ])
    error_message = "nobody comes without TLS"
  }
}

run "data_is_encrypted_with_the_key_and_never_destroyed_in_passing" {
  command = apply

  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_server_side_encryption_configuration.data.rule :
      rule.bucket_key_enabled && rule.apply_server_side_encryption_by_default[0].kms_master_key_id == var.key_arn
    ])
    error_message = "data has the environment's key, asked for once per bucket and not once per object"
  }

  assert {
    condition     = aws_s3_bucket.data.force_destroy == false
    error_message = "a bucket with results is not destroyed"
  }
}

run "old_versions_and_uploads_end_but_runs_and_models_do_not" {
  command = apply

  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.data.rule : try(rule.abort_incomplete_multipart_upload[0].days_after_initiation == 2, false)
    ])
    error_message = "uploads that never ended are ended"
  }

  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.data.rule : try(rule.noncurrent_version_expiration[0].noncurrent_days == 14, false)
    ])
    error_message = "old versions go after two weeks"
  }

  assert {
    condition = alltrue(flatten([
      for rule in aws_s3_bucket_lifecycle_configuration.data.rule : [for expiration in rule.expiration : try(expiration.days == null || expiration.days == 0, true)]
    ]))
    error_message = "no rule removes what is current"
  }
}

run "a_name_that_s3_would_refuse" {
  command = plan
  variables {
    bucket = "Tests_Bucket"
  }
  expect_failures = [var.bucket]
}
