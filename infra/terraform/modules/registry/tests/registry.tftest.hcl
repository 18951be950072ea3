mock_provider "aws" {}

variables {
  key_arn = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "a_tag_never_changes_its_image" {
  command = apply

  assert {
    condition = keys(aws_ecr_repository.this) == ["terraquery"] && alltrue([
      for repository in aws_ecr_repository.this :
      repository.image_tag_mutability == "IMMUTABLE" && repository.image_scanning_configuration[0].scan_on_push
    ])
    error_message = "images are scanned, and their tags are final"
  }

  assert {
    condition     = alltrue([for repository in aws_ecr_repository.this : repository.encryption_configuration[0].kms_key == var.key_arn])
    error_message = "images have the environment's key"
  }
}

run "old_images_go" {
  command = apply

  assert {
    condition = alltrue([
      for policy in aws_ecr_lifecycle_policy.this :
      [for rule in jsondecode(policy.policy).rules : rule.selection.countNumber] == [7, 20]
    ])
    error_message = "layers without a tag go after a week, and twenty images stay"
  }
}
