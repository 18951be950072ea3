mock_provider "aws" {
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-west-2:123456789012:tests-alarms" }
  }
}

variables {
  name               = "tests"
  account_id         = "123456789012"
  key_arn            = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
  emails             = ["nightly-runs@example.com"]
  monthly_budget_usd = 1000
  gpu_groups         = { gpu-spot = "eks-1", gpu-on-demand = "eks-2" }
  nat_gateway_ids    = { us-west-2a = "nat-1" }
}

run "a_budget_warns_before_it_is_spent" {
  command = apply

  assert {
    condition     = aws_budgets_budget.month.limit_amount == "1000" && aws_budgets_budget.month.limit_unit == "USD"
    error_message = "the budget is what was asked for"
  }

  assert {
    condition = toset([for note in aws_budgets_budget.month.notification : "${note.notification_type} ${note.threshold}"]) == toset([
      "ACTUAL 50", "ACTUAL 90", "FORECASTED 100",
    ])
    error_message = "half of it, nearly all of it, and what the forecast says"
  }
}

run "every_alarm_tells_the_topic" {
  command = apply

  assert {
    condition = alltrue([
      for alarm in concat(
        values(aws_cloudwatch_metric_alarm.gpu_left_running),
        values(aws_cloudwatch_metric_alarm.nat_traffic),
        [aws_cloudwatch_metric_alarm.pods_wait],
      ) : alarm.alarm_actions == toset([aws_sns_topic.alarms.arn])
    ])
    error_message = "an alarm that tells nobody is none"
  }
}

run "gpu_nodes_that_never_leave_are_reported" {
  command = apply
  variables {
    gpu_hours = 6
  }

  assert {
    condition = { for pool, alarm in aws_cloudwatch_metric_alarm.gpu_left_running : alarm.dimensions.AutoScalingGroupName => alarm.period * alarm.evaluation_periods } == {
      eks-1 = 21600
      eks-2 = 21600
    }
    error_message = "six hours of each pool"
  }
}

run "nobody_to_tell_is_refused" {
  command = plan
  variables {
    emails = []
  }
  expect_failures = [var.emails]
}

run "no_budget_is_refused" {
  command = plan
  variables {
    monthly_budget_usd = 0
  }
  expect_failures = [var.monthly_budget_usd]
}
