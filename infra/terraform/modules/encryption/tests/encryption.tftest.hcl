mock_provider "aws" {}

variables {
  name       = "tests"
  account_id = "123456789012"
  region     = "us-west-2"
}

run "the_key_rotates_and_is_not_gone_at_once" {
  command = plan

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "a key rotates, and a deleted one can be brought back for 30 days"
  }
}

run "services_use_it_for_this_account_alone" {
  command = plan

  assert {
    condition = alltrue([
      for statement in jsondecode(aws_kms_key.this.policy).Statement :
      can(statement.Condition) || try(statement.Principal.AWS == "arn:aws:iam::123456789012:root", false)
    ])
    error_message = "whoever is not the account needs a condition"
  }

  assert {
    condition     = !strcontains(aws_kms_key.this.policy, "\"Principal\":\"*\"")
    error_message = "the key is not for everybody"
  }
}
