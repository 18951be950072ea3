mock_provider "aws" {
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/tests" }
  }
  mock_resource "aws_eks_cluster" {
    defaults = { arn = "arn:aws:eks:us-west-2:123456789012:cluster/tests" }
  }
}

variables {
  name            = "tests"
  account_id      = "123456789012"
  subnet_ids      = ["subnet-1", "subnet-2"]
  admin_role_arns = ["arn:aws:iam::123456789012:role/platform-engineers"]
  key_arn         = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
}

run "the_control_plane_is_private" {
  command = apply

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "without api_cidrs nobody outside reaches it"
  }

  assert {
    condition = (
      aws_eks_cluster.this.access_config[0].authentication_mode == "API" &&
      !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions
    )
    error_message = "access entries alone say who may log in"
  }

  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == var.key_arn
    error_message = "secrets have the environment's key"
  }

  assert {
    condition     = aws_eks_cluster.this.upgrade_policy[0].support_type == "STANDARD"
    error_message = "nobody pays for extended support by accident"
  }
}

run "named_networks_reach_it" {
  command = apply
  variables {
    api_cidrs = ["203.0.113.0/24"]
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "one network, and no other"
  }
}

run "the_internet_does_not" {
  command = plan
  variables {
    api_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.api_cidrs]
}

run "nor_half_of_it" {
  command = plan
  variables {
    api_cidrs = ["203.0.113.0/24", "128.0.0.0/1"]
  }
  expect_failures = [var.api_cidrs]
}

run "somebody_administers_it" {
  command = plan
  variables {
    admin_role_arns = []
  }
  expect_failures = [var.admin_role_arns]
}

run "nodes_hold_nearly_no_rights" {
  command = apply

  assert {
    condition = toset([for attachment in aws_iam_role_policy_attachment.node : attachment.policy_arn]) == toset([
      "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
      "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy",
    ])
    error_message = "nodes join the cluster and pull images, no more"
  }
}

run "network_policies_have_an_effect" {
  command = apply

  assert {
    condition     = jsondecode(aws_eks_addon.network.configuration_values).enableNetworkPolicy == "true"
    error_message = "the network add-on enforces NetworkPolicy objects"
  }

  assert {
    condition     = keys(aws_eks_addon.before_nodes) == ["eks-pod-identity-agent", "kube-proxy"]
    error_message = "pods get their roles from the agent of pod identity"
  }
}
