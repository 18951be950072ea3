mock_provider "aws" {
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0" }
  }
  mock_resource "aws_eks_node_group" {
    defaults = { resources = [{ autoscaling_groups = [{ name = "eks-gpu" }], remote_access_security_group_id = "" }] }
  }
}

variables {
  cluster_name  = "tests"
  node_role_arn = "arn:aws:iam::123456789012:role/tests-node"
  subnet_ids    = ["subnet-1", "subnet-2"]
}

run "spot_first_and_on_demand_for_nights_without" {
  command = apply

  assert {
    condition     = keys(output.autoscaling_groups) == ["gpu-on-demand", "gpu-spot"]
    error_message = "two pools"
  }
}

run "both_are_empty_between_runs_and_keep_others_away" {
  command = plan

  # A test sees into a module only through its outputs.
  assert {
    condition = output.pools == {
      gpu-on-demand = { capacity_type = "ON_DEMAND", min_nodes = 0, max_nodes = 2, taint = "nvidia.com/gpu=present:NO_SCHEDULE" }
      gpu-spot      = { capacity_type = "SPOT", min_nodes = 0, max_nodes = 8, taint = "nvidia.com/gpu=present:NO_SCHEDULE" }
    }
    error_message = "two pools that start at zero, with the taint that Ray's GPU workers tolerate"
  }
}

run "no_on_demand_where_none_is_wanted" {
  command = apply
  variables {
    max_on_demand_nodes = 0
  }

  assert {
    condition     = keys(output.autoscaling_groups) == ["gpu-spot"]
    error_message = "a pool without nodes is none"
  }
}
