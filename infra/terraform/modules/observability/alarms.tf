# Each alarm is a way in which a night goes wrong without anybody noticing. The metrics exist without agents.

locals {
  hour_s = 3600
}

# EC2 reports the load of an instance as long as it runs, so the number of reports says that one is there.
resource "aws_cloudwatch_metric_alarm" "gpu_left_running" {
  for_each = var.gpu_groups

  alarm_name          = "${var.name}-${each.key}-left-running"
  alarm_description   = "Nodes of ${each.key} have run for ${var.gpu_hours} hours without a break. Look for a RayCluster that nobody removed: kubectl -n terraquery get raycluster"
  namespace           = "AWS/EC2"
  metric_name         = "CPUUtilization"
  dimensions          = { AutoScalingGroupName = each.value }
  statistic           = "SampleCount"
  period              = local.hour_s
  evaluation_periods  = var.gpu_hours
  datapoints_to_alarm = var.gpu_hours
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "pods_wait" {
  alarm_name          = "${var.name}-pods-wait"
  alarm_description   = "Pods have found no node for an hour: no spot capacity, a quota, or a request that fits no node. kubectl -n terraquery describe pod"
  namespace           = "AWS/EKS"
  metric_name         = "scheduler_pending_pods_UNSCHEDULABLE"
  dimensions          = { ClusterName = var.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 12
  datapoints_to_alarm = 12
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# Imagery of the region passes through the S3 endpoint for nothing. Much traffic here is a job that reads
# from another region or from the web.
resource "aws_cloudwatch_metric_alarm" "nat_traffic" {
  for_each = var.nat_gateway_ids

  alarm_name          = "${var.name}-nat-traffic-${each.key}"
  alarm_description   = "More than ${var.nat_gb_per_hour} GB came through the NAT gateway within an hour. Does a job read imagery of another region?"
  namespace           = "AWS/NATGateway"
  metric_name         = "BytesInFromDestination"
  dimensions          = { NatGatewayId = each.value }
  statistic           = "Sum"
  period              = local.hour_s
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.nat_gb_per_hour * 1000000000
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}
