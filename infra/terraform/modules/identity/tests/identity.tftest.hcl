mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/tests" }
  }
}

variables {
  cluster_name = "tests"
  cluster_arn  = "arn:aws:eks:us-west-2:123456789012:cluster/tests"
  account_id   = "123456789012"
  region       = "us-west-2"
  bucket       = "tests-bucket"
  key_arn      = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
  inputs = [
    { bucket = "sentinel-cogs", prefixes = ["sentinel-s2-l2a-cogs/"] },
    { bucket = "usgs-landsat", prefixes = ["collection02/level-2/"], requester_pays = true },
  ]
}

run "no_action_has_a_wildcard" {
  command = apply

  assert {
    condition = length(aws_iam_role_policy.this) == 7 && alltrue(flatten([
      for policy in aws_iam_role_policy.this : [
        for statement in jsondecode(policy.policy).Statement : [
          for action in statement.Action : !strcontains(action, "*")
        ]
      ]
    ]))
    error_message = "every action is named"
  }
}

run "every_list_is_bound_to_a_prefix" {
  command = apply

  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.this : [
        for statement in jsondecode(policy.policy).Statement :
        !contains(statement.Action, "s3:ListBucket") || can(statement.Condition.StringLike["s3:prefix"])
      ]
    ]))
    error_message = "a list without a prefix would show the names of everything"
  }
}

run "each_account_has_one_role_of_its_own" {
  command = apply

  assert {
    condition = { for name, link in aws_eks_pod_identity_association.this : name => "${link.namespace}/${link.service_account}" } == {
      cluster-autoscaler = "kube-system/cluster-autoscaler"
      ray-head           = "terraquery/ray-head"
      ray-worker         = "terraquery/ray-worker"
      scheduler          = "terraquery/scheduler"
    }
    error_message = "four service accounts"
  }

  assert {
    condition = alltrue([
      for name, role in aws_iam_role.this :
      [for statement in jsondecode(role.assume_role_policy).Statement : statement.Condition.StringEquals["aws:RequestTag/kubernetes-service-account"]] == [name]
    ])
    error_message = "a role trusts its own account alone"
  }

  assert {
    condition     = tolist(aws_eks_access_entry.scheduler.kubernetes_groups) == tolist(["terraquery:schedulers"])
    error_message = "in the cluster the scheduler is a member of one group"
  }
}

run "an_airflow_outside_becomes_the_scheduler_and_nobody_else" {
  command = apply
  variables {
    scheduler_principal_arns = ["arn:aws:iam::123456789012:role/airflow"]
  }

  assert {
    condition     = [for name, role in aws_iam_role.this : name if strcontains(role.assume_role_policy, "role/airflow")] == ["scheduler"]
    error_message = "only the scheduler trusts a role outside"
  }
}

run "a_whole_account_is_refused_as_scheduler" {
  command = plan
  variables {
    scheduler_principal_arns = ["arn:aws:iam::123456789012:root"]
  }
  expect_failures = [var.scheduler_principal_arns]
}

run "a_wildcard_is_refused_as_prefix" {
  command = plan
  variables {
    inputs = [{ bucket = "sentinel-cogs", prefixes = ["*/"] }]
  }
  expect_failures = [var.inputs]
}

run "a_whole_bucket_is_refused_too" {
  command = plan
  variables {
    inputs = [{ bucket = "sentinel-cogs", prefixes = [""] }]
  }
  expect_failures = [var.inputs]
}

run "and_a_bucket_named_twice" {
  command = plan
  variables {
    inputs = [
      { bucket = "naip-analytic", prefixes = ["ca/"], requester_pays = true },
      { bucket = "naip-analytic", prefixes = ["nv/"] },
    ]
  }
  expect_failures = [var.inputs]
}
